"""Make a trained model smaller, and know what it cost."""
