"""Which variables of an environment are ours, and which look like a slip of the pen.

Names count in any case, as in `WORKER_GATEWAYS__OpenAI__BASE_URL`. An empty value is the same as none,
because compose files write `${SECRET:-}`; only AUTH_PREFIX may be empty on purpose. White space around a
value is dropped, except in AUTH_PREFIX, whose default ends in a space.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from worker.settings.values import shown

PREFIX = "WORKER_"
GATEWAYS = "WORKER_GATEWAYS"
GATEWAY_VARIABLE = re.compile(r"WORKER_GATEWAYS__(?P<name>.+?)__(?P<key>.+)", re.DOTALL)
GATEWAY_NAME = re.compile(r"[a-z0-9_-]{1,64}")
GATEWAY_EXAMPLE = "WORKER_GATEWAYS__MYGATEWAY__BASE_URL=https://api.example.com"
KEPT_AS_IT_IS = "__AUTH_PREFIX"

# Kubernetes sets these in every container of a namespace that has a Service named `worker` or `worker-…`.
SERVICE_LINK = re.compile(
    r"WORKER_(?!GATEWAYS__)(.+_)?(SERVICE_(HOST|PORT)|PORT(_\d+_(TCP|UDP|SCTP))?)(_.+)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake: the variable, and what is wrong with it and what to do, in one line."""

    variable: str
    message: str

    def __str__(self) -> str:
        """Return the line that the operator reads."""
        return f"{self.variable}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """What was found: values by upper-case name, and the mistakes in the names."""

    values: Mapping[str, str]
    problems: tuple[Problem, ...]


def find_variables(
    environ: Mapping[str, str], *, settings: Collection[str], gateway_keys: Collection[str]
) -> Variables:
    """Return our variables out of `environ`; `settings` and `gateway_keys` are the names that exist."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for name, text in sorted(environ.items()):
        variable = name.upper()
        if not variable.startswith(PREFIX) or SERVICE_LINK.fullmatch(variable):
            continue
        value = text if variable.endswith(KEPT_AS_IT_IS) else text.strip()
        if not value and not variable.endswith(KEPT_AS_IT_IS):
            continue
        message = _judge(variable, settings=settings, gateway_keys=gateway_keys)
        if variable in values:
            message = "is set twice, in upper and lower case; keep one of the two"
        if message is None:
            values[variable] = value
        else:
            problems.append(Problem(variable=name if name.isprintable() else ascii(name), message=message))
    return Variables(values=values, problems=tuple(problems))


def _judge(variable: str, *, settings: Collection[str], gateway_keys: Collection[str]) -> str | None:
    """Return what is wrong with the name of a variable; None when it exists."""
    if match := GATEWAY_VARIABLE.fullmatch(variable):
        name, key = match["name"].lower(), match["key"]
        if not GATEWAY_NAME.fullmatch(name):
            return f"the gateway's name {shown(name)} is not 1 to 64 of a-z, 0-9, _ and -; rename it"
        if key in gateway_keys:
            return None
        return _unknown(f"{GATEWAYS}__{match['name']}__", key, known=gateway_keys)
    if variable.startswith(GATEWAYS.removesuffix("S")):
        return f"is no setting; each value of a gateway has its own variable, for example {GATEWAY_EXAMPLE}"
    if variable in settings:
        return None
    return _unknown(
        PREFIX, variable.removeprefix(PREFIX), known=[one.removeprefix(PREFIX) for one in settings]
    )


def _unknown(prefix: str, name: str, *, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"is no setting; did you mean {prefix}{close[0]}?"
    return f"is no setting; remove it, or choose from {', '.join(prefix + one for one in known)}"
