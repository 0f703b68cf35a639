"""One codec for each kind of side: values of a table as ids or numbers, and answers back."""
