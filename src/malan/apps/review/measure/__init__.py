"""What is measured of a file: pictures, text, sound, flashing. Start at `episode.measure`."""
