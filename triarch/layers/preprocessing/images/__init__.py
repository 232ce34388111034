"""Images before a network sees them: brought to a size, and changed at random in training."""
