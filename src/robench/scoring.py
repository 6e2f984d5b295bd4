from robench.score import notes, score  # temporary

__all__ = ["notes", "score"]
