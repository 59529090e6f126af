"""Data that people made: encrypted, kept, and recorded for long enough."""
