"""What training refuses."""


class TrainingError(Exception):
    """Training was asked for what it cannot do; the text says what."""
