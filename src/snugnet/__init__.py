"""snugnet: the most accurate image classifier that fits a budget, and the proof of it.

The functions and types below are the library; docs/library.md shows them at work. They are imported when they are first
asked for, so that `import snugnet` takes milliseconds and no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snugnet.api import (
        Predictions,
        compare_runs,
        evaluate_run,
        finetune_recipe,
        judge_net,
        load_recipe,
        open_run,
        predict_images,
        price_recipe,
        resume_run,
        train_recipe,
    )
    from snugnet.budget import Budget, Cost
    from snugnet.compare import Comparison
    from snugnet.errors import Interrupted, OverBudget, SnugError
    from snugnet.foreign import code_allowed
    from snugnet.recipe import Recipe
    from snugnet.runs import RunRecord

__version__ = "0.1.0"
__all__ = [
    "Budget",
    "Comparison",
    "Cost",
    "Interrupted",
    "OverBudget",
    "Predictions",
    "Recipe",
    "RunRecord",
    "SnugError",
    "code_allowed",
    "compare_runs",
    "evaluate_run",
    "finetune_recipe",
    "judge_net",
    "load_recipe",
    "open_run",
    "predict_images",
    "price_recipe",
    "resume_run",
    "train_recipe",
]
_ELSEWHERE = {  # all other names are in snugnet.api
    "Budget": "budget",
    "Comparison": "compare",
    "Cost": "budget",
    "Interrupted": "errors",
    "OverBudget": "errors",
    "Recipe": "recipe",
    "RunRecord": "runs",
    "SnugError": "errors",
    "code_allowed": "foreign",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'snugnet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"snugnet.{_ELSEWHERE.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
