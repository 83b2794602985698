"""Who is calling: signatures, access keys, and bodies that are what was signed. Decides nothing about permission."""
