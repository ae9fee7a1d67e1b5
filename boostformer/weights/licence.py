"""The licence of weights, as the files beside them state it."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from boostformer.data.formats.names import json_of
from boostformer.errors import UserError
from boostformer.files import is_file
from boostformer.weights.card import CARD, UNKNOWN


def licence_of(folder: Path) -> str | None:
    """Read the licence that a folder's model card (README.md) or config.json states; None where they do not."""
    card = folder / CARD
    if is_file(card):
        try:
            data = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict()
        except (OSError, ValueError) as error:
            raise UserError(f"{card}: its header cannot be read ({' '.join(str(error).split())[:120]})") from None
        named = [data.get(key) for key in ("license", "license_name")]
        if found := ", ".join(dict.fromkeys(str(one) for one in named if one and one != UNKNOWN)):
            return found
    config = json_of(folder / "config.json") if is_file(folder / "config.json") else {}
    stated = config.get("license") if isinstance(config, dict) else None
    return str(stated) if stated else None
