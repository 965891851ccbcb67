"""Tests of seastream_nb."""
