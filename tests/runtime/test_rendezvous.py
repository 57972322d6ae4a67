"""Hosts of a run wait for each other, and the log names those that are missing."""

import socket
import threading

import pytest

from ich_tf.errors import InputError, Terminated, UsageError
from ich_tf.runtime.rendezvous import wait_for_all


@pytest.fixture
def addresses() -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [socket_.getsockname()[1] for socket_ in sockets]
    for socket_ in sockets:
        socket_.close()
    return [f"127.0.0.1:{port}" for port in ports]


def test_all_leave_once_the_last_is_there(addresses: list[str]) -> None:
    left: list[str] = []

    def host(address: str) -> None:
        others = [other for other in addresses if other != address]
        wait_for_all(address, others, wait_seconds=20)
        left.append(address)
        # Answers at the same port, as TensorFlow's server would.
        name, port = address.split(":")
        with socket.create_server((name, int(port))):
            done.wait(20)

    done = threading.Event()
    threads = [threading.Thread(target=host, args=(address,)) for address in addresses]
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
