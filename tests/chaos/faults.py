"""The faults by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping

from tests.chaos import beats, brokers, clock_kills, clocks, disks, kills, postgres, soak, stops
from tests.chaos.plan import Fault

FAULTS: Mapping[str, Fault] = {
    "kill": kills.FAULT,
    "beat": beats.FAULT,
    "stop": stops.STOP,
    "roll": stops.ROLL,
    "broker": brokers.FAULT,
    "postgres": postgres.FAULT,
    "clock": clocks.FAULT,
    "clock-kill": clock_kills.FAULT,
    "disk": disks.FAULT,
    "soak": soak.FAULT,
}
