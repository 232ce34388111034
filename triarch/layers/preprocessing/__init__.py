"""From what people have to numbers, before a model."""
