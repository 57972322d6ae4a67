"""The webhook: a POST for each study that is done, failed or refused."""

from __future__ import annotations

import logging

import httpx

from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.notices import MAX_RETRY_SECONDS, Notices
from ich_tf.gateway.outbox import backoff
from ich_tf.gateway.states import Study
from ich_tf.gateway.tls import client_context
from ich_tf.gateway.worklist import study_row
from ich_tf.runtime.tokens import read_token

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_FIRST_RETRY_SECONDS = 5.0
# About a day at the longest time.
_MAX_ATTEMPTS = 150


class Webhook:
    """Tells another program of finished studies."""

    def __init__(self, config: GatewayConfig, notices: Notices) -> None:
        """Reads the token.

        Args:
          config: Config of the gateway.
          notices: Studies that it has to tell of.

        Raises:
          ConfigError: If the token cannot be read.
          InputError: If a file of `[tls]` cannot be used.
        """
        section = config.webhook
        self._url, self._notices = section.url, notices
        token = read_token(section.token_file)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            verify=client_context(config.tls),
            timeout=section.timeout_seconds,
            follow_redirects=False,
            trust_env=False,
        )

    def step(self) -> float:
        """Tells of the next study; returns the time until there may be another, seconds."""
        found = self._notices.next_due()
        if found is None:
            return _IDLE_SECONDS
        study, attempts = found
        problem = self._post(study)
        if not problem:
            self._notices.done(study)
        elif attempts + 1 >= _MAX_ATTEMPTS:
            _LOG.error("study %d: the webhook is given up: %s", study.number, problem)
            self._notices.done(study)
        else:
            seconds = backoff(attempts, _FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
            _LOG.warning(
                "study %d: the webhook failed: %s Next attempt in %.0f s.",
                *(study.number, problem, seconds),
            )
            self._notices.postpone(study, seconds)
        return 0.0

    def _post(self, study: Study) -> str:
        """Sends one notice; returns why it failed, empty if it did not."""
        try:
            # The answer's body is not needed, and may have no end.
            with self._client.stream(
                "POST", self._url, json=study_row(study).model_dump()
            ) as response:
                return "" if response.is_success else f"status {response.status_code}."
        except httpx.TimeoutException:
            return "no answer in time."
        except httpx.HTTPError as error:
            return f"no connection ({type(error).__name__})."
