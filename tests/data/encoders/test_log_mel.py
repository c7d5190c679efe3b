"""The published log-mel features: number for number those of torchaudio, where it is there."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch

from snn_delays.data.encoders.log_mel import PUBLISHED, VARIANTS, WITHIN_NYQUIST, LogMel, log_mel, mel_filters, resample
from snn_delays.errors import ConfigError, DataError

needs_librosa = pytest.mark.skipif(importlib.util.find_spec("librosa") is None, reason="librosa is not installed")


def chirp(n=16_000):
    """A rising tone of whole-numbered samples, as from a 16-bit file."""
    seconds = np.arange(n) / 16_000
    wave = np.round(16_384 * np.sin(2 * np.pi * (100 * seconds + 1900 * seconds**2)))
    return (wave / 32_768).astype(np.float32)


def noise(n=16_000, seed=0):
    wave = np.round(3_000 * np.random.default_rng(seed).standard_normal(n)).clip(-32_768, 32_767)
    return (wave / 32_768).astype(np.float32)


# Computed by torchaudio 2.11.0 (Resample, Spectrogram, MelScale, AmplitudeToDB with the published arguments) for
# chirp(), at frames 0, 25, 50, 75 and 100 by channels 0, 20, 40, 60, 80 and 86.
TORCHAUDIO = {
    "published": [
        [24.6112, -4.4250, -18.1663, -26.2980, -31.4217, -33.8416],
        [-66.6345, -55.6228, 26.4118, -67.2977, -79.4635, -85.4746],
        [-90.4455, -85.1048, -84.1975, 29.3754, -81.0415, -90.8186],
        [-93.0555, -89.2086, -76.8060, -66.2335, -46.2103, -62.8830],
        [-28.5942, -27.3333, -25.4352, -19.6674, -3.6508, 20.9813],
    ],
    "within_nyquist": [
        [24.3233, 2.8182, -17.5532, -19.5418, -24.2498, -25.6637],
        [-66.9224, -64.5643, -58.3323, 6.2202, -45.9293, -55.4824],
        [-90.7334, -91.6556, -89.8314, -88.4297, -64.0957, -49.8447],
        [-93.3434, -91.2010, -94.6460, -85.9204, -80.0817, -77.4498],
        [-28.8820, -29.2907, -36.2112, -28.8905, -25.4917, -24.4077],
    ],
}
AT = np.ix_([0, 25, 50, 75, 100], [0, 20, 40, 60, 80, 86])


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_are_those_that_torchaudio_gave(variant):
    ours = log_mel(chirp(), VARIANTS[variant])
    assert ours.shape == (101, 140)
    assert ours.dtype == np.float32
    assert np.allclose(ours[AT], TORCHAUDIO[variant], rtol=1e-4, atol=0.05)
    # canary: the other variant, which differs in f_max alone, is rejected
    other = log_mel(chirp(), next(v for name, v in VARIANTS.items() if name != variant))
    assert not np.allclose(other[AT], TORCHAUDIO[variant], rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "waveform", [chirp(), noise(), noise(7_001), noise(20_000)], ids=["chirp", "noise", "short", "long"]
)
def test_features_equal_torchaudio_where_it_is_installed(waveform, variant):
    transforms = pytest.importorskip("torchaudio.transforms")
    settings = VARIANTS[variant]
    fitted = torch.from_numpy(np.pad(waveform, (0, max(0, 16_000 - len(waveform))))[:16_000])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about filters that are zero: that is the point
        mel = transforms.MelScale(140, 8_000, f_min=50.0, f_max=settings.f_max_hz, n_stft=129)
    spectrum = transforms.Spectrogram(n_fft=256, hop_length=80, power=2)(transforms.Resample(16_000, 8_000)(fitted))
    theirs = transforms.AmplitudeToDB()(mel(spectrum)).T.numpy()
    assert np.allclose(log_mel(waveform, settings), theirs, rtol=1e-4, atol=1e-4)


@needs_librosa
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_filters_and_spectrum_equal_librosa(settings):
    import librosa

    arguments = {"sr": 8_000, "n_fft": 256, "n_mels": 140, "fmin": 50.0, "fmax": settings.f_max_hz, "norm": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = librosa.filters.mel(htk=True, dtype=np.float64, **arguments)
        wrong = librosa.filters.mel(htk=False, dtype=np.float64, **arguments)
    ours = mel_filters(settings).numpy().T
    assert np.abs(ours - filters).max() < 5e-5
    assert np.abs(ours - wrong).max() > 0.5  # canary: Slaney's mel scale is rejected
    low = resample(torch.from_numpy(noise()), 2).numpy()
    power = (
        np.abs(librosa.stft(low, n_fft=256, hop_length=80, window="hann", pad_mode="reflect", dtype=np.complex128)) ** 2
    )
    theirs = 10 * np.log10(np.maximum(filters @ power, 1e-10)).T
    live = filters.max(1) > 1e-3  # filters that only graze a bin are worth what single precision makes of them
    assert np.abs(log_mel(noise(), settings)[:, live] - theirs[:, live]).max() < 0.01
    assert live.sum() >= 85


def test_the_resampler_passes_what_fits_and_stops_what_does_not():
    at = np.arange(4_000)
    for frequency, gain in ((200, 1.0), (3_000, 1.0), (5_500, 0.0), (7_000, 0.0)):
        tone = torch.from_numpy(np.cos(2 * np.pi * frequency * at / 16_000))
        low = resample(tone, 2)[50:-50]
        assert low.pow(2).mean().sqrt() * 2**0.5 == pytest.approx(gain, abs=0.02)
        if gain:
            assert torch.allclose(low, tone[::2][50:-50], atol=0.02)  # in place: no delay
    assert resample(torch.ones(7), 2).shape == (4,)
    assert torch.equal(resample(torch.arange(5.0), 1), torch.arange(5.0))


def test_as_published_53_channels_see_nothing():
    features = log_mel(noise())
    assert (features == -100).all(0).sum() == 53
    assert (mel_filters(PUBLISHED)[:, 87:] == 0).all()
    assert (mel_filters(PUBLISHED)[:, :87].sum(0) > 0).all()
    assert (log_mel(noise(), WITHIN_NYQUIST) == -100).all(0).sum() == 7
    assert (log_mel(np.zeros(16_000)) == -100).all()


def test_a_tone_lies_in_its_channel_and_at_its_time():
    seconds = np.arange(16_000) / 16_000
    for frequency in (500, 1_500, 3_000):
        tone = np.where(seconds < 0.5, np.sin(2 * np.pi * frequency * seconds), 0).astype(np.float32)
        features = log_mel(tone)
        mel = 2595 * np.log10(1 + np.array([50.0, 14_000.0, frequency]) / 700)
        expected = (mel[2] - mel[0]) / (mel[1] - mel[0]) * 141 - 1
        assert abs(features[20].argmax() - expected) <= 1.5
        assert features[20].max() - features[80].max() > 60
    assert (PUBLISHED.frame_ms, PUBLISHED.n_frames) == (10.0, 101)


def test_padding_and_cutting():
    assert np.array_equal(log_mel(noise(9_000)), log_mel(np.pad(noise(9_000), (0, 7_000))))
    assert np.array_equal(log_mel(noise(20_000)), log_mel(noise(20_000)[:16_000]))
    assert log_mel(noise(1)).shape == (101, 140)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 100)), r"one axis \[sample\].*shape \(2, 100\)"),
        (np.zeros(0), r"shape \(0,\)"),
        (np.array([0.0, np.nan]), "sample 1 of the waveform is nan"),
        (np.array([np.inf]), "sample 0 of the waveform is inf"),
    ],
)
def test_impossible_waveforms_are_refused(waveform, message):
    with pytest.raises(DataError, match=message):
        log_mel(waveform)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resampled_hz": 7_000}, "must divide rate_hz 16000"),
        ({"f_min_hz": 5_000.0, "f_max_hz": 4_000.0}, "f_min_hz < f_max_hz"),
        ({"f_max_hz": np.inf}, "f_max_hz"),
        ({"n_mels": 0}, "at least 1"),
        ({"window_samples": 1}, "window 2"),
        ({"length_samples": 256}, "too few to mirror"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        LogMel(**change)
