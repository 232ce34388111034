"""What a convolution is predicted to take: counted operations times fitted constants.

The constants are data, `costs.json`: seconds for one unit of each count, by method and type of numbers, with the
machine on which they were fitted. `scripts/bench fit-costs` fits them anew.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("costs.json")
Constants = dict[str, dict[str, dict[str, float]]]  # method -> type -> count -> seconds


@cache
def shipped() -> dict[str, Any]:
    """The file as it is."""
    return json.loads(PATH.read_text())


def predict_seconds(method: str, dtype: str, counts: dict[str, float], constants: Constants | None = None) -> float:
    """The predicted time of one call.

    Raises:
        KeyError: There are no constants for such numbers; the fit covers all that the method accepts.
    """
    of_type = (constants or shipped()["constants"])[method][dtype]
    return sum(number * of_type[name] for name, number in counts.items() if number)
