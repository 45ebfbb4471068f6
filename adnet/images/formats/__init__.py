"""Image files: read and written with their depth, layout and metadata.

Each format has one module that turns bytes into an `ImageFile` and back (png, tiff, jpeg, webp,
gif, bmp); the small modules beside them cut its container into pieces (png_chunks, tiff_tags,
jpeg_segments, webp_chunks). `codec` chooses the format. The containers are taken apart here,
because metadata must come back byte for byte and no library does that; compressed pixels go through
the C codecs of Pillow.
"""
