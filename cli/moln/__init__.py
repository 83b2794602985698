"""The user's command: `moln dev` runs a cloud on this machine, the other commands speak S3 with any cloud."""
