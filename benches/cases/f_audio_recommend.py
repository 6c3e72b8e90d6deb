"""Speech, sound, recommendation."""

from __future__ import annotations

from typing import Any

from models import audio, recommend

from . import Task, family


@family(
    "audio and recommendation",
    "DeepSpeech, 2 conv, 3 bidirectional GRU 256, CTC",
    train={"batch": 4, "frames": 200},
    infer={"batch": 1, "frames": 200},
    tiny={"batch": 2, "frames": 40, "hidden": 16},
)
def deep_speech(torch: Any, batch: int, frames: int, hidden: int = 256) -> Task:
    model = audio.deep_speech(torch, hidden=hidden)
    x = torch.randn(batch, 1, 161, frames)
    heard, letters = torch.full((batch,), frames // 2), frames // 8
    said, lengths = torch.randint(1, 29, (batch, letters)), torch.full((batch,), letters)
    ctc = torch.nn.CTCLoss(zero_infinity=True)
    return Task(model, (x,), lambda scores: ctc(scores, said, heard, lengths), lambda p: torch.optim.AdamW(p, lr=1e-4))


@family(
    "audio and recommendation",
    "WaveNet, 2x9 layers of 32",
    train={"batch": 2, "samples": 4000},
    infer={"batch": 1, "samples": 4000},
    tiny={"batch": 1, "samples": 50, "depth": 3},
)
def wavenet(torch: Any, batch: int, samples: int, depth: int = 9) -> Task:
    sound = torch.randint(0, 256, (batch, samples + 1))
    x, y = sound[:, :-1], sound[:, 1:]
    model = audio.wavenet(torch, depth=depth)
    return Task(
        model,
        (x,),
        lambda scores: torch.nn.functional.cross_entropy(scores, y),
        lambda p: torch.optim.Adam(p, lr=1e-3),
    )


@family(
    "audio and recommendation",
    "DeepFM, 26 fields of 1000, 16 wide",
    train={"batch": 512},
    infer={"batch": 512},
    tiny={"batch": 4, "values": 20},
)
def deep_fm(torch: Any, batch: int, values: int = 1000) -> Task:
    model = recommend.deep_fm(torch, values=values)
    x = (torch.randint(0, values, (batch, 26)), torch.rand(batch, 13))
    clicks = (torch.rand(batch) < 0.25).float()
    loss = torch.nn.BCEWithLogitsLoss()
    return Task(model, x, lambda z: loss(z, clicks), lambda p: torch.optim.Adam(p, lr=1e-3))
