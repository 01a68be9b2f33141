from benchmarks.simulation import claims
from benchmarks.simulation.stopping import run
from benchmarks.simulation.traffic import Weights


def test_every_rate_and_number_of_variants_is_there_with_fixed_and_moving_weights():
    settings = {
        (traffic.rates, traffic.weights)
        for traffic, _ in claims.without_a_winner()
        if traffic.swing == 0.0 and traffic.amounts is None
    }

    assert settings == {
        ((rate,) * n_arms, weights)
        for rate in (0.004, 0.01, 0.1)
        for n_arms in (2, 3, 10)
        for weights in (Weights.EVEN, Weights.THOMPSON)
    }


def test_every_claim_can_be_run():
    for traffic, rule in (*claims.without_a_winner(), *claims.power(), *claims.promotion()):
        short = type(traffic)(
            **{name: getattr(traffic, name) for name in traffic.__slots__} | {"looks": 2}
        )

        assert run(short, rule, 2, seed=1).declared.repetitions == 2
