"""Image backbones: timm models, their weights, and what they give at each stride."""
