//! The runtime's side of [`crate::probe`]: nothing at all without the feature `simulation`.

/// The probe of an endpoint, if it is simulated.
#[cfg(feature = "simulation")]
#[derive(Debug, Clone, Default)]
pub(crate) struct Probing {
    pub(crate) probe: Option<std::sync::Arc<dyn crate::probe::Probe>>,
}

#[cfg(feature = "simulation")]
impl Probing {
    /// Passes a point; a process that ends there stays there.
    pub(crate) async fn pass(&self, point: crate::probe::CrashPoint, moment: crate::probe::Moment) {
        let goes_on = self
            .probe
            .as_ref()
            .is_none_or(|probe| probe.goes_on(point, moment));
        if !goes_on {
            std::future::pending::<()>().await;
        }
    }
}

/// `pass!(shared, Before Commit)`: a simulated process may end here.
macro_rules! pass {
    ($shared:expr, $moment:ident $point:ident) => {
        #[cfg(feature = "simulation")]
        $shared
            .probing
            .pass($crate::probe::CrashPoint::$point, $crate::probe::Moment::$moment)
            .await;
    };
}

/// `mutated!(RelayOff)`: whether a simulation makes the runtime wrong in this way.
macro_rules! mutated {
    ($mutant:ident) => {{
        #[cfg(feature = "simulation")]
        let is = $crate::probe::is_mutated($crate::probe::Mutant::$mutant);
        #[cfg(not(feature = "simulation"))]
        let is = false;
        is
    }};
}

pub(crate) use {mutated, pass};
