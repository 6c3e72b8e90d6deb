"""transformers: models from tiny configurations: forward, loss, a training step, saving and loading."""

import sys
import tempfile

import torch
import transformers
from report import show, train

transformers.logging.set_verbosity_error()
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def bert():
    config = transformers.BertConfig(vocab_size=99, max_position_embeddings=64, **SMALL)
    ids = torch.randint(0, 99, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    model = transformers.BertForMaskedLM(config)
    return model, {"input_ids": ids, "attention_mask": mask, "labels": ids}


def bert_base():
    config = transformers.BertConfig(vocab_size=99, max_position_embeddings=64, **SMALL)
    return transformers.BertModel(config), {"input_ids": torch.randint(0, 99, (2, 9))}


def bert_classify():
    config = transformers.BertConfig(vocab_size=99, max_position_embeddings=64, num_labels=3, **SMALL)
    model = transformers.BertForSequenceClassification(config)
    return model, {"input_ids": torch.randint(0, 99, (2, 9)), "labels": torch.tensor([0, 2])}


def gpt2():
    config = transformers.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    ids = torch.randint(0, 99, (2, 9))
    return transformers.GPT2LMHeadModel(config), {"input_ids": ids, "labels": ids}


def t5():
    config = transformers.T5Config(
        vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config), {
        "input_ids": torch.randint(1, 99, (2, 9)),
        "labels": torch.randint(1, 99, (2, 5)),
    }


def distilbert():
    config = transformers.DistilBertConfig(
        vocab_size=99, max_position_embeddings=64, dim=32, n_layers=2, n_heads=4, hidden_dim=64
    )
    ids = torch.randint(0, 99, (2, 9))
    return transformers.DistilBertForMaskedLM(config), {"input_ids": ids, "labels": ids}


def vit():
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=5, **SMALL)
    model = transformers.ViTForImageClassification(config)
    return model, {"pixel_values": torch.randn(2, 3, 32, 32), "labels": torch.tensor([1, 4])}


def llama():
    config = transformers.LlamaConfig(vocab_size=99, max_position_embeddings=64, num_key_value_heads=2, **SMALL)
    ids = torch.randint(0, 99, (2, 9))
    return transformers.LlamaForCausalLM(config), {"input_ids": ids, "labels": ids}


MODELS = {f.__name__: f for f in (bert, bert_base, bert_classify, gpt2, t5, distilbert, vit, llama)}

for name in sys.argv[1:] or MODELS:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    model.eval()
    with torch.no_grad():
        output = model(**inputs)
    show(f"{name}.output", output[1] if "labels" in inputs else output[0])
    show(f"{name}.keys", list(output.keys()))
    torch.manual_seed(1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    if "labels" in inputs:
        train(name, model, lambda: model(**inputs).loss, optimizer)
    else:
        train(name, model, lambda: model(**inputs).last_hidden_state.pow(2).mean(), optimizer)
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = type(model).from_pretrained(folder)
    with torch.no_grad():
        first, second = model(**inputs)[0], again(**inputs)[0]
    show(f"{name}.reloaded", bool(torch.equal(first, second)))
    show(f"{name}.state", {k: list(v.shape) for k, v in list(again.state_dict().items())[:6]})
    if name in ("gpt2", "llama", "t5"):
        start = inputs["input_ids"][:, :4]
        kwargs = {"max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": None}
        show(f"{name}.greedy", again.generate(start, do_sample=False, **kwargs).tolist())
        show(f"{name}.uncached", again.generate(start, do_sample=False, use_cache=False, **kwargs).tolist())
        show(f"{name}.beams", again.generate(start, num_beams=3, do_sample=False, **kwargs).tolist())
        torch.manual_seed(2)
        show(f"{name}.sampled", again.generate(start, do_sample=True, top_k=20, top_p=0.9, **kwargs).tolist())
