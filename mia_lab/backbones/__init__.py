"""Image backbones: timm models, their weights, and their feature maps at each stride."""
