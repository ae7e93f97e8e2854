"""A live market as pure state: frames and REST answers in, events, flaws and wants out."""
