"""What can be trained: events to classes, language models, sentences."""
