"""Server-side encryption, in front of everything that stores or carries bytes (docs/encryption.md)."""
