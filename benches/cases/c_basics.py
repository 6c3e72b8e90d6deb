"""Small networks, trained and asked: linear regression, perceptrons, MNIST, Q-learning, word vectors."""

from __future__ import annotations

from typing import Any

from models import basics

from . import Task, classifier, family


@family("basics", "linear regression", train={"batch": 256}, infer={"batch": 256})
def linear_regression(torch: Any, batch: int) -> Task:
    model, y = torch.nn.Linear(13, 1), torch.randn(batch, 1)
    loss = torch.nn.MSELoss()
    return Task(model, (torch.randn(batch, 13),), lambda z: loss(z, y), lambda p: torch.optim.SGD(p, lr=0.01))


@family("basics", "MLP 784-512-256-10", train={"batch": 128}, infer={"batch": 128}, tiny={"batch": 4})
def mlp(torch: Any, batch: int) -> Task:
    model = basics.mlp(torch, 784, 512, 256, 10)
    return classifier(torch, model, torch.randn(batch, 784), 10, lambda p: torch.optim.Adam(p, lr=1e-3))


@family("basics", "MNIST CNN", train={"batch": 100}, infer={"batch": 100}, tiny={"batch": 4})
def mnist_cnn(torch: Any, batch: int) -> Task:
    return classifier(torch, basics.mnist_cnn(torch), torch.randn(batch, 1, 28, 28), 10)


@family("basics", "DQN", train={"batch": 128}, infer={"batch": 1})
def dqn(torch: Any, batch: int) -> Task:
    """CartPole's sizes: Huber loss against a target network, gradients clipped, the target moved a little."""
    policy, target = basics.mlp(torch, 4, 128, 128, 2), basics.mlp(torch, 4, 128, 128, 2)
    target.load_state_dict(policy.state_dict())
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4, amsgrad=True)
    state, after = torch.randn(batch, 4), torch.randn(batch, 4)
    action, reward, ends = torch.randint(0, 2, (batch, 1)), torch.ones(batch), torch.rand(batch) < 0.05

    def step() -> Any:
        values = policy(state).gather(1, action).squeeze(1)
        with torch.no_grad():
            best = target(after).max(1).values.masked_fill(ends, 0.0)
        loss = torch.nn.functional.smooth_l1_loss(values, reward + 0.99 * best)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy.parameters(), 100)
        optimizer.step()
        with torch.no_grad():
            for ours, theirs in zip(target.parameters(), policy.parameters(), strict=True):
                ours.lerp_(theirs, 0.005)
        return loss

    return Task(policy, own_step=step, own_inference=lambda: policy(state).max(1).indices, others=[target])


@family(
    "basics",
    "Word2Vec, 10000x100, 5 negatives",
    train={"batch": 512},
    infer={"batch": 16},
    tiny={"batch": 4, "words": 50},
)
def word2vec(torch: Any, batch: int, words: int = 10000) -> Task:
    model = basics.word2vec(torch, words, 100)
    centre, context = torch.randint(0, words, (batch,)), torch.randint(0, words, (batch,))
    others = torch.randint(0, words, (batch, 5))

    def neighbours() -> Any:
        table = torch.nn.functional.normalize(model.centres.weight, dim=1)
        return torch.matmul(table[centre], table.t()).topk(10).values

    inputs = (centre, context, others)
    return Task(model, inputs, lambda loss: loss, lambda p: torch.optim.Adam(p, lr=1e-3), own_inference=neighbours)
