"""peft: LoRA and its relatives on a tiny GPT-2 and a BERT, trained, merged, saved and loaded."""

import tempfile

import torch
import transformers
from peft import (
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
    get_peft_model_state_dict,
)
from report import show, train

transformers.logging.set_verbosity_error()


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    return transformers.GPT2LMHeadModel(config)


ids = torch.randint(0, 99, (2, 9), generator=torch.Generator().manual_seed(0))
CONFIGS = {
    "lora": LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn"], task_type="CAUSAL_LM", lora_dropout=0.0),
    "dora": LoraConfig(r=4, use_dora=True, target_modules=["c_attn"], task_type="CAUSAL_LM"),
    "rslora": LoraConfig(r=4, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.1),
    "ia3": IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
                     task_type="CAUSAL_LM"),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
}
for name, config in CONFIGS.items():
    torch.manual_seed(1)
    model = get_peft_model(gpt2(), config)
    show(f"{name}.trainable", model.get_nb_trainable_parameters())
    torch.manual_seed(2)
    chosen = [p for p in model.parameters() if p.requires_grad]
    train(name, model, lambda: model(input_ids=ids, labels=ids).loss, torch.optim.AdamW(chosen, lr=1e-2), steps=3)
    model.eval()
    with torch.no_grad():
        before = model(input_ids=ids).logits
    show(f"{name}.logits", before)
    show(f"{name}.state", sorted(get_peft_model_state_dict(model))[:4])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = PeftModel.from_pretrained(gpt2(), folder)
        again.eval()
        with torch.no_grad():
            show(f"{name}.reloaded", bool(torch.allclose(again(input_ids=ids).logits, before, atol=1e-6)))
    if name in ("lora", "dora", "rslora", "ia3"):
        merged = model.merge_and_unload()
        with torch.no_grad():
            show(f"{name}.merged", bool(torch.allclose(merged(input_ids=ids).logits, before, atol=1e-4)))
