"""adnet-export web: a folder with a page that runs a model in the visitor's browser.

Start with `folder`, which writes it; `ort_web` brings ONNX Runtime Web, which is not part of this
package. What the page itself is made of lies in site/.
"""
