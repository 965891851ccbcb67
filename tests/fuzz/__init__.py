"""Damaged `.ss` files, by the hundred thousand, and what must hold whatever was done to them."""
