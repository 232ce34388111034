"""Images as people have them: files, folders of classes, and batches that threads read from them."""
