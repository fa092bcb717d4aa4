"""The retry policy of a route.

Source: the Envoy API (RetryPolicy) and istiod's answers; the default is istiod's for every http route.
"""

from __future__ import annotations

from http import HTTPStatus

from .envoy import (
    PreviousHostsPredicate,
    PreviousPrioritiesConfig,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RetryPolicyRetryPriority,
)
from .resources import Retries
from .wire import packed

DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_ATTEMPTS = 2
_STATUS_CODES = "retriable-status-codes"
_HOST_ATTEMPTS = 5
_KNOWN_STATUS = {status.value for status in HTTPStatus}


def retry_policy(retries: Retries | None, *, hashed: bool) -> RetryPolicy | None:
    """The policy for ``retries``; None where they are turned off.

    :param hashed: whether a consistent hash picks the endpoint. A retry then goes to the same one.
    """
    if retries is None:
        retries = Retries(attempts=DEFAULT_ATTEMPTS)
    if not retries.attempts:
        return None
    policy = RetryPolicy(
        retry_on=DEFAULT_RETRY_ON,
        num_retries=retries.attempts,
        host_selection_retry_max_attempts=_HOST_ATTEMPTS,
        per_try_timeout=retries.per_try_timeout,
    )
    if retries.retry_on:
        policy.retry_on, policy.retriable_status_codes = _conditions(retries.retry_on)
    other_host = retries.ignore_previous_hosts if retries.ignore_previous_hosts is not None else not hashed
    if other_host:
        policy.retry_host_predicate = [
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=packed(PreviousHostsPredicate()),
            )
        ]
    if retries.remote_localities:
        policy.retry_priority = RetryPolicyRetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=packed(PreviousPrioritiesConfig(update_frequency=2)),
        )
    if retries.backoff is not None:
        policy.retry_back_off = RetryPolicyRetryBackOff(base_interval=retries.backoff)
    return policy


def _conditions(text: str) -> tuple[str, list[int]]:
    """The conditions of ``retryOn``, and the HTTP status codes among them."""
    names: list[str] = []
    codes: list[int] = []
    for part in (piece.strip() for piece in text.split(",")):
        if part.isdigit() and int(part) in _KNOWN_STATUS:
            codes.append(int(part))
        elif part:
            names.append(part)
    joined = ",".join(names)
    if codes and _STATUS_CODES not in joined:
        joined += f",{_STATUS_CODES}"
    return joined, codes
