"""What is wrong with how an application uses its database, each with the line to change and how."""
