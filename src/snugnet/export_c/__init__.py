"""An int8 net as C: for microcontrollers, and to run it here."""
