"""How often concepts occur in an image-text corpus, and what that does to zero-shot accuracy."""
