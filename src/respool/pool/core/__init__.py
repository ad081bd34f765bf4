"""The pool's decisions, pure: no clock, lock, loop, socket, log or chance."""
