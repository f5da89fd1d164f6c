"""An emulator of vision model services that learns from labelled pictures and answers from pixels.

The core knows nothing of any wire protocol: `lifecycle`, `throttle`, `faults`, `hosting`, `images` and
`pixel_model`. A service is one protocol module on top of it (`rekognition`, `lookout_for_vision`, `sagemaker_endpoint`)
that `server` routes to.
"""
