"""From sound, pictures and numbers to events."""
