"""Jobs: ``install(app, db)`` for each library that runs them, so that every job has a scope that ends before it is done."""
