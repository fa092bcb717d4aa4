"""The xDS client: ADS session (sans-IO), cache, decoding, and the one driver that does I/O."""
