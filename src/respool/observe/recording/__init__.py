"""What is noted while an application works: each use of a connection, each statement, each scope that is over."""
