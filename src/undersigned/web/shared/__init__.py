"""What the audiences share: errors as pages, headers, languages, forms in stages."""
