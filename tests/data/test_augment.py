import pytest
import torch

from snn_delays.data.augment import channel_shift, cutmix, neuron_mask, time_mask, time_shift
from snn_delays.data.dataset import Batch
from snn_delays.errors import ConfigError

STEPS, SAMPLES, CHANNELS = 30, 400, 20
ALL = [
    lambda b, g: channel_shift(b, 4, g),
    lambda b, g: time_shift(b, 5, g),
    lambda b, g: time_shift(b, 5, g, per_channel=True),
    lambda b, g: neuron_mask(b, 0.65, 6, g),
    lambda b, g: time_mask(b, 0.65, 6, g),
    lambda b, g: cutmix(b, 4, 0.5, g),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch() -> Batch:
    """Every entry of a sample's own steps is at least one, so that whatever is silenced or moved shows."""
    drawn = generator(9)
    lengths = torch.randint(10, STEPS + 1, (SAMPLES,), generator=drawn)
    counts = torch.randint(1, 9, (STEPS, SAMPLES, CHANNELS), generator=drawn).to(torch.uint8)
    counts *= (torch.arange(STEPS)[:, None] < lengths)[:, :, None]
    return Batch(counts, lengths, torch.arange(SAMPLES) % 4)


def full(length=STEPS, value=1):
    counts = torch.full((length, SAMPLES, CHANNELS), value, dtype=torch.uint8)
    return Batch(counts, torch.full((SAMPLES,), length), torch.arange(SAMPLES) % 4)


@pytest.mark.parametrize("augment", ALL)
def test_the_same_seed_gives_the_same_and_the_input_stays(augment, batch):
    before = [tensor.clone() for tensor in batch]
    first, second, other = augment(batch, generator(1)), augment(batch, generator(1)), augment(batch, generator(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert not torch.equal(first.counts, other.counts)
    assert all(torch.equal(a, b) for a, b in zip(batch, before))
    assert first.counts.dtype == torch.uint8
    state = torch.get_rng_state()
    augment(batch, generator(1))
    assert torch.equal(state, torch.get_rng_state())  # the global generator is left alone


@pytest.mark.parametrize("augment", ALL)
def test_nothing_appears_after_a_samples_end(augment, batch):
    out = augment(batch, generator(3))
    after = torch.arange(out.counts.shape[0])[:, None] >= out.lengths
    assert not out.counts[after].any()


def test_channel_shift_moves_every_distance_equally_often_and_wraps_nothing(batch):
    out = channel_shift(batch, 4, generator()).counts
    seen = []
    for b in range(SAMPLES):
        for k in range(-4, 5):
            moved = torch.zeros_like(batch.counts[:, b])
            if k >= 0:
                moved[:, k:] = batch.counts[:, b, : CHANNELS - k]
            else:
                moved[:, :k] = batch.counts[:, b, -k:]
            if torch.equal(moved, out[:, b]):
                seen.append(k)
                break
    assert len(seen) == SAMPLES
    assert all(20 <= seen.count(k) <= 75 for k in range(-4, 5))  # 400 / 9 = 44 +- 6
    assert torch.equal(channel_shift(batch, 0, generator()).counts, batch.counts)


@pytest.mark.parametrize("per_channel", [False, True])
def test_time_shift_delays_and_loses_no_spike(batch, per_channel):
    out = time_shift(batch, 5, generator(), per_channel=per_channel)
    assert out.counts.shape == (STEPS + 5, SAMPLES, CHANNELS)
    assert torch.equal(out.counts.sum(0), batch.counts.sum(0))
    first = (out.counts > 0).int().argmax(0)  # all of the batch's channels begin at step 0
    assert sorted(first.unique().tolist()) == list(range(6))
    assert (first == first[:, :1]).all().item() is not per_channel
    assert torch.equal(out.lengths - batch.lengths, first.amax(1))
    b, c = 17, 3
    moved = out.counts[int(first[b, c]) :, b, c][:STEPS]
    assert torch.equal(moved, batch.counts[:, b, c])


@pytest.mark.parametrize(("mask", "axis"), [(neuron_mask, 2), (time_mask, 0)])
def test_masks_silence_one_block_of_the_size_and_as_often_as_given(mask, axis):
    batch = full()
    out = mask(batch, 0.65, 6, generator()).counts
    silent = out.amax(2 - axis) == 0  # [batch, channel] or [time, batch]
    silent = silent if axis == 2 else silent.T
    sizes = silent.sum(1)
    assert sorted(sizes.unique().tolist()) == list(range(7))
    assert 0.47 < (sizes > 0).float().mean() < 0.65  # 0.65 * 6/7 = 0.557
    edges = silent.int().diff(dim=1, prepend=torch.zeros(SAMPLES, 1), append=torch.zeros(SAMPLES, 1))
    assert ((edges == 1).sum(1) <= 1).all()  # one block
    assert silent[:, 0].any()
    assert silent[:, -1].any()  # both edges are reached
    assert out[out > 0].eq(1).all()
    assert torch.equal(mask(batch, 0.0, 6, generator()).counts, batch.counts)
    assert (mask(batch, 1.0, 1, generator(4)).counts == 0).any()


def test_time_masks_lie_inside_a_samples_own_length():
    lengths = torch.full((SAMPLES,), 8)
    batch = full()._replace(lengths=lengths)
    out = time_mask(batch, 1.0, 8, generator()).counts
    assert (out[8:] == 1).all()
    assert (out[:8] == 0).any()


def test_cutmix_mixes_labels_by_the_share_replaced(batch):
    # sample b holds the value b % 200 + 1 everywhere: what comes from where can be read off
    value = (torch.arange(SAMPLES) % 200 + 1).to(torch.uint8)
    own = torch.arange(STEPS)[:, None] < batch.lengths
    marked = batch._replace(counts=(own * value)[:, :, None].expand(-1, -1, CHANNELS).contiguous())
    out = cutmix(marked, 4, 0.5, generator())
    assert out.labels.shape == (SAMPLES, 4)
    assert out.labels.dtype == torch.float32
    torch.testing.assert_close(out.labels.sum(1), torch.ones(SAMPLES))
    partner_ends = batch.lengths.roll(-1)
    mixed = 0
    for b in range(SAMPLES):
        length = int(batch.lengths[b])
        column = out.counts[:length, b, 0]
        kept = int((column == value[b]).sum())
        share = 1 - out.labels[b, batch.labels[b]].item()
        assert kept == pytest.approx((1 - share) * length, abs=1e-3)
        taken = column[column != value[b]]
        assert set(taken.tolist()) <= {0, int(value[(b + 1) % SAMPLES])}
        if partner_ends[b] >= length:
            assert 0 not in taken.tolist()
        mixed += share > 0
    assert 150 < mixed < 240  # half of 400, less those whose lambda is below one step
    assert torch.equal(out.lengths, batch.lengths)
    untouched = cutmix(marked, 4, 0.0, generator())
    assert torch.equal(untouched.counts, marked.counts)
    assert torch.equal(untouched.labels.argmax(1), batch.labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, g: channel_shift(b, CHANNELS, g), "max_shift must lie in 0 to 19"),
        (lambda b, g: channel_shift(b, -1, g), "max_shift"),
        (lambda b, g: time_shift(b, -1, g), "max_shift_steps"),
        (lambda b, g: neuron_mask(b, 1.5, 3, g), "probability"),
        (lambda b, g: neuron_mask(b, 0.5, 21, g), "0 to 20 long"),
        (lambda b, g: time_mask(b, 0.5, STEPS, g), "0 to 1[0-9] long"),
        (lambda b, g: cutmix(b, 4, -0.1, g), "probability"),
        (lambda b, g: cutmix(b, 3, 0.5, g), "label 3 does not fit 3 classes"),
        (lambda b, g: channel_shift(b, 0.5, g), "max_shift must be an integer"),
        (lambda b, g: time_shift(b, 2.0, g), "max_shift_steps must be an integer"),
        (lambda b, g: time_mask(b, 0.5, 1.5, g), "must be an integer"),
    ],
)
def test_impossible_arguments_are_refused(call, message, batch):
    with pytest.raises(ConfigError, match=message):
        call(batch, generator())


@pytest.mark.parametrize("augment", [ALL[1], ALL[4], ALL[5]])
def test_a_camera_is_changed_in_time_as_a_row_is(augment, batch):
    row = augment(batch, generator(4))
    camera = augment(batch._replace(counts=batch.counts.view(STEPS, SAMPLES, 2, 2, 5)), generator(4))
    assert not row.counts[:STEPS].equal(batch.counts)
    assert camera.counts.flatten(2).equal(row.counts)
    assert camera.lengths.equal(row.lengths)


@pytest.mark.parametrize("augment", [ALL[0], ALL[2], ALL[3]])
def test_channels_of_a_camera_are_no_row(augment, batch):
    with pytest.raises(ConfigError, match=r"channels in a row; the batch has shape \(30, 400, 2, 2, 5\), of a camera"):
        augment(batch._replace(counts=batch.counts.view(STEPS, SAMPLES, 2, 2, 5)), generator())
