"""The pages of spaces, architectures and blocks, from the registry and the shipped files."""

from __future__ import annotations

from importlib import resources

from reference.text import code, described, plain, table


def space_file_page() -> str:
    """Write the shipped spaces and, as an example, the smallest of them."""
    from search_space.reader import read_space, shipped_spaces

    spaces = {name: read_space(name) for name in shipped_spaces()}
    listed = table(
        ("space", "input", "networks"),
        ((code(name), "{}x{}".format(*space.size), f"{space.count:.3g}") for name, space in spaces.items()),
    )
    text = (resources.files("search_space") / "spaces" / "tiny.yaml").read_text(encoding="utf-8")
    return f"{listed}\n## The space `tiny`, whole\n\n```yaml\n{text.strip()}\n```\n"


def architecture_page() -> str:
    """Write the parts of an architecture, and a preset as an example."""
    from boostformer import presets
    from boostformer.architecture import ARRANGEMENTS, NORMS, STRIDES, Architecture, Decoder, Stage

    parts = "\n".join(f"## {kind.__name__}\n\n{described(kind)}" for kind in (Architecture, Stage, Decoder))
    words = table(
        ("key", "allowed"),
        (("`norm`", ", ".join(map(code, NORMS))), ("`arrangement`", ", ".join(map(code, ARRANGEMENTS)))),
    )
    strides = f"The four embeds stride by {', '.join(map(str, STRIDES))}.\n"
    listed = ", ".join(code(name) for name in presets.names())
    text = (resources.files("boostformer.presets") / "boostformer_b0.yaml").read_text(encoding="utf-8")
    return (
        f"{parts}\n{words}\n{strides}\n## Presets\n\n{listed}.\n\n"
        f"`boostformer_b0`, whole:\n\n```yaml\n{text.strip()}\n```\n"
    )


def blocks_page() -> str:
    """Write every registered block with its options."""
    import boostformer.blocks  # noqa: F401  (registers the blocks)
    from boostformer.blocks import registry

    pages = []
    for kind in registry.KINDS:
        pages.append(f"## {kind}\n")
        for block in (declared for declared in registry.declarations() if declared.kind == kind):
            pages.append(f"### {kind}: {block.name}\n\n{plain(block.doc)} Source: {block.source}.\n")
            if block.options:
                rows = (
                    (code(o.name), ", ".join(code(_yaml(value)) for value in o.allowed), code(_yaml(o.default)))
                    for o in block.options.values()
                )
                pages.append(table(("option", "allowed", "default"), rows))
    return "\n".join(pages)


def _yaml(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
