"""Hosts of a run wait for each other, and say for whom."""

import socket
import threading

import pytest

from ich_tf.errors import InputError, Terminated, UsageError
from ich_tf.runtime.rendezvous import wait_for_all


@pytest.fixture
def addresses() -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return [f"127.0.0.1:{port}" for port in ports]


def test_all_leave_once_the_last_is_there(addresses: list[str]) -> None:
    left: list[str] = []

    def host(own: str) -> None:
        wait_for_all(own, [one for one in addresses if one != own], wait_seconds=20)
        left.append(own)
        # What follows answers there, as TensorFlow's server would.
        address, port = own.split(":")
        with socket.create_server((address, int(port))):
            done.wait(20)

    done = threading.Event()
    threads = [threading.Thread(target=host, args=(own,)) for own in addresses]
    for thread in threads[:2]:
        thread.start()
    threads[0].join(1.5)
    assert not left
    threads[2].start()
    for _ in range(100):
        threads[2].join(0.1)
        if len(left) == 3:
            break
    done.set()
    for thread in threads:
        thread.join(20)
    assert sorted(left) == sorted(addresses)


def test_whoever_is_missing_is_named(addresses: list[str]) -> None:
    first, second, _ = addresses
    with pytest.raises(InputError, match=f"{second} did not answer within"):
        wait_for_all(first, [second], wait_seconds=0.1)
    with pytest.raises(Terminated, match=f"while {second} had not started"):
        wait_for_all(first, [second], lambda: True)
    wait_for_all(first, [])


def test_addresses_that_cannot_be_used(addresses: list[str]) -> None:
    first, second, _ = addresses
    taken = socket.create_server(("", int(first.split(":")[1])))
    with taken, pytest.raises(UsageError, match=f"of {first}, .* cannot be listened on"):
        wait_for_all(first, [second])
    with pytest.raises(UsageError, match="'host2' is not an address"):
        wait_for_all(first, ["host2"])
