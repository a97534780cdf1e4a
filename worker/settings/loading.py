"""From variables to validated settings, or to one problem for each mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from worker.settings.environment import PREFIX, Problem
from worker.settings.gateway import Gateway


class FromVariables(BaseSettings):
    """Settings whose variables are handed in: it takes nothing from the process by itself."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,  # lists may be written with commas, and a key of digits is not a number
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments only."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


Loaded = TypeVar("Loaded", bound=FromVariables)


def build(kind: type[Loaded], *, values: Mapping[str, str]) -> Loaded | tuple[Problem, ...]:
    """Return the settings that `values` (by upper-case variable) spell, or all that is wrong with them."""
    source = EnvSettingsSource(kind)
    source.env_vars = {variable.lower(): value for variable, value in values.items()}
    try:
        return kind(**source())
    except ValidationError as error:
        # A default that follows from a broken value is not a mistake of its own.
        return tuple(
            _problem(one, kind=kind)
            for one in error.errors(include_url=False, include_input=False)
            if one["type"] != "default_factory_not_called"
        )


def _problem(error: ErrorDetails, *, kind: type[FromVariables]) -> Problem:
    """Say one validation error in terms of its variable; our readers wrote its text, unless a value lacks."""
    location = tuple(str(part) for part in error["loc"])
    match location:
        case ("gateways", _, key):
            field = Gateway.model_fields[key]
        case _:
            field = kind.model_fields[location[0]]
    variable = PREFIX + "__".join(location).upper()
    if error["type"] == "missing":
        message = "is missing; every gateway needs its BASE_URL and its API_KEY"
    else:
        message = str(error["ctx"]["error"])
    example = f"{variable}={(field.examples or [''])[0]}"
    return Problem(variable=variable, message=f"{message}, for example {example}")
