"""Image backbones: timm models, their weights, and what they give at each stride."""

from mia_lab.backbones.backbone import Backbone

__all__ = ["Backbone"]
