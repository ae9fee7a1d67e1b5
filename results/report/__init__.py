"""Pictures of the front: PNG and self-contained HTML."""
