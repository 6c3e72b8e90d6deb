"""transformers, more models: forward, loss and gradients; and the Trainer."""

import sys
import tempfile

import torch
import transformers as tf
from report import show, train

tf.logging.set_verbosity_error()
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
IDS = torch.randint(3, 99, (2, 9), generator=torch.Generator().manual_seed(0))
CAUSAL = {"input_ids": IDS, "labels": IDS}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
VOCAB = {"vocab_size": 99, "max_position_embeddings": 64}

MODELS = {
    "roberta": lambda: (tf.RobertaForMaskedLM(tf.RobertaConfig(**VOCAB, **SMALL)), CAUSAL),
    "albert": lambda: (tf.AlbertForMaskedLM(tf.AlbertConfig(embedding_size=16, **VOCAB, **SMALL)), CAUSAL),
    "electra": lambda: (tf.ElectraForMaskedLM(tf.ElectraConfig(embedding_size=16, **VOCAB, **SMALL)), CAUSAL),
    "deberta": lambda: (tf.DebertaV2ForMaskedLM(tf.DebertaV2Config(**VOCAB, **SMALL, relative_attention=True,
                                                                 pos_att_type=["p2c", "c2p"])), CAUSAL),
    "mistral": lambda: (tf.MistralForCausalLM(tf.MistralConfig(num_key_value_heads=2, sliding_window=4, **VOCAB,
                                                               **SMALL)), CAUSAL),
    "qwen2": lambda: (tf.Qwen2ForCausalLM(tf.Qwen2Config(num_key_value_heads=2, **VOCAB, **SMALL)), CAUSAL),
    "gemma": lambda: (tf.GemmaForCausalLM(tf.GemmaConfig(num_key_value_heads=1, head_dim=8, **VOCAB, **SMALL)), CAUSAL),
    "phi": lambda: (tf.PhiForCausalLM(tf.PhiConfig(**VOCAB, **SMALL)), CAUSAL),
    "gpt_neox": lambda: (tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**VOCAB, **SMALL)), CAUSAL),
    "opt": lambda: (tf.OPTForCausalLM(tf.OPTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
        word_embed_proj_dim=32, **VOCAB)), CAUSAL),
    "bloom": lambda: (tf.BloomForCausalLM(tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=2, n_head=4)), CAUSAL),
    "mixtral": lambda: (tf.MixtralForCausalLM(tf.MixtralConfig(num_key_value_heads=2, num_local_experts=4, **VOCAB,
                                                               **SMALL)), CAUSAL),
    "mamba": lambda: (tf.MambaForCausalLM(tf.MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2,
                                                         state_size=4)), CAUSAL),
    "bart": lambda: (tf.BartForConditionalGeneration(tf.BartConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=64, decoder_ffn_dim=64, **VOCAB)), CAUSAL),
    "whisper": lambda: (tf.WhisperForConditionalGeneration(tf.WhisperConfig(
        vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=8, max_source_positions=20,
        max_target_positions=20, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)),
        {"input_features": torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(1)), "labels": IDS}),
    "swin": lambda: (tf.SwinForImageClassification(tf.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, num_labels=3)),
        {"pixel_values": IMAGES, "labels": torch.tensor([0, 2])}),
    "resnet": lambda: (tf.ResNetForImageClassification(tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3)),
        {"pixel_values": IMAGES, "labels": torch.tensor([0, 2])}),
    "wav2vec2": lambda: (tf.Wav2Vec2ForCTC(tf.Wav2Vec2Config(
        vocab_size=20, conv_dim=(16, 16), conv_stride=(4, 4), conv_kernel=(8, 4), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, mask_time_prob=0.0, **SMALL)),
        {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(1)),
         "labels": torch.randint(1, 20, (2, 4), generator=torch.Generator().manual_seed(2))}),
    "clip": lambda: (tf.CLIPModel(tf.CLIPConfig(
        text_config={"vocab_size": 99, "max_position_embeddings": 16, "eos_token_id": 98, **SMALL},
        vision_config={"image_size": 32, "patch_size": 8, **SMALL}, projection_dim=16)),
        {"input_ids": IDS, "pixel_values": IMAGES, "return_loss": True}),
}
for name in sys.argv[1:] or MODELS:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    model.eval()
    with torch.no_grad():
        output = model(**inputs)
    show(f"{name}.output", output.logits if "logits" in output else output.logits_per_text)
    train(name, model, lambda: model(**inputs).loss, torch.optim.AdamW(model.parameters(), lr=1e-3))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = type(model).from_pretrained(folder).eval()
    with torch.no_grad():
        show(f"{name}.reloaded", bool(torch.equal(again(**inputs).loss, model(**inputs).loss)))
    if name in ("mistral", "qwen2", "gemma", "phi", "gpt_neox", "opt", "bloom", "mixtral", "mamba"):
        show(f"{name}.greedy", model.generate(IDS[:, :4], max_new_tokens=6, do_sample=False, pad_token_id=0,
                                              eos_token_id=None).tolist())

torch.manual_seed(0)
config = tf.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=1, n_head=4)
data = [{"input_ids": row, "labels": row} for row in torch.randint(0, 99, (16, 8))]
with tempfile.TemporaryDirectory() as folder:
    arguments = tf.TrainingArguments(folder, per_device_train_batch_size=4, num_train_epochs=2, learning_rate=1e-3,
                                     logging_steps=2, report_to=[], use_cpu=True, save_strategy="epoch", seed=3,
                                     eval_strategy="epoch", disable_tqdm=True, lr_scheduler_type="cosine")
    trainer = tf.Trainer(tf.GPT2LMHeadModel(config), arguments, train_dataset=data, eval_dataset=data[:4])
    result = trainer.train()
    show("trainer.loss", result.training_loss)
    show("trainer.log", [round(e["loss"], 3) for e in trainer.state.log_history if "loss" in e])
    show("trainer.eval", trainer.evaluate()["eval_loss"])
    show("trainer.predict", trainer.predict(data[:2]).predictions.sum().item())
    show("trainer.resumed", trainer.train(resume_from_checkpoint=True).training_loss)
