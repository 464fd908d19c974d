from pathlib import Path

import peft
import pytest
import tiny_training as tiny
import torch

from rankscope.lm.bases import load_base
from rankscope.lm.sites import linear_sites
from rankscope.train.arms import adapter_of, build_arm, write_arm
from rankscope.train.cell import DenseSpec, FullSpec, LoraSpec


def test_ranks_are_nested_and_placements_paired(base_folder: Path) -> None:
    base = load_base(str(base_folder))
    small, large = (adapter_of(build_arm(base, LoraSpec(rank=rank), 3)) for rank in (2, 4))
    one_kind = adapter_of(build_arm(base, LoraSpec(rank=4, placement=("*.mlp.c_fc",)), 3))
    other_seed = adapter_of(build_arm(base, LoraSpec(rank=2), 4))
    assert list(small) == list(linear_sites(base.model))
    for site, factors in small.items():
        assert torch.equal(factors.A_RI, large[site].A_RI[:2])
        assert not torch.equal(factors.A_RI, other_seed[site].A_RI)
        assert not factors.B_OR.any()
    for site, factors in one_kind.items():
        assert torch.equal(factors.A_RI, large[site].A_RI)


def test_an_untrained_arm_computes_what_the_base_does(base_folder: Path) -> None:
    base = load_base(str(base_folder))
    tokens = torch.arange(3, 12)[None]
    with torch.no_grad():
        for spec in (LoraSpec(rank=3), DenseSpec(), FullSpec()):
            assert torch.equal(build_arm(base, spec, 0).model(tokens).logits, base.model(tokens).logits)


@pytest.mark.parametrize(
    ("spec", "n_parameters"),
    [
        # per layer of width 16: c_attn 16 x 48, c_proj 16 x 16, c_fc 16 x 64, mlp.c_proj 64 x 16
        (LoraSpec(rank=3), 2 * 3 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))),
        (DenseSpec(placement=("*.mlp.c_proj",)), 2 * 64 * 16),
        # tied embeddings once, positions, 12 d^2 + 13 d per layer, final norm
        (FullSpec(), 256 * 16 + 64 * 16 + 2 * (12 * 16**2 + 13 * 16) + 2 * 16),
    ],
)
def test_what_trains_is_counted_by_hand(base_folder: Path, spec: LoraSpec, n_parameters: int) -> None:
    arm = build_arm(load_base(str(base_folder)), spec, 0)
    trainable = [parameter for parameter in arm.model.parameters() if parameter.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in arm.parameters.values()}
    assert sum(parameter.numel() for parameter in trainable) == n_parameters


@pytest.mark.parametrize("spec", [LoraSpec(rank=3), DenseSpec(), FullSpec()])
def test_training_leaves_the_base_as_it_was(base_folder: Path, spec: LoraSpec) -> None:
    base = load_base(str(base_folder))
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    arm = build_arm(base, spec, 0)
    with torch.no_grad():
        for parameter in arm.parameters.values():
            parameter.add_(1.0)
    assert list(base.model.state_dict()) == list(before)
    assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # by PEFT
@pytest.mark.parametrize("spec", [LoraSpec(rank=3), LoraSpec(rank=3, kind="rslora"), LoraSpec(rank=2, alpha=5.0)])
def test_peft_reads_the_saved_adapter_exactly(base_folder: Path, tmp_path: Path, spec: LoraSpec) -> None:
    base = load_base(str(base_folder))
    arm = build_arm(base, spec, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in arm.parameters.values():
            parameter.normal_()
    write_arm(tmp_path / "adapter", arm, str(base_folder))
    tokens = torch.arange(3, 12)[None]
    loaded = peft.PeftModel.from_pretrained(load_base(str(base_folder)).model, tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, arm.model(tokens).logits)


def test_dropout_is_active_in_the_adapter_alone(base_folder: Path) -> None:
    model = build_arm(load_base(str(base_folder)), tiny.ARMS["dropout"], 0).model
    dropouts = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    active = {name for name, module in dropouts.items() if module.training}
    assert active == {name for name in dropouts if "lora_dropout" in name}
    assert len(active) == 8
