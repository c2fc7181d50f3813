"""How hard one image pair is: the error of a linear probe from image features to the target.

Only the array-level score is imported here, so that it costs neither timm nor its models.
"""

from mia_lab.difficulty.score import difficulty_score

__all__ = ["difficulty_score"]
