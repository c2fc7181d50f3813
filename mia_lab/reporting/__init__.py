"""Results for readers: files, pictures, one HTML page, the terminal and W&B."""
