"""The selected pairs in the layouts that training code reads."""
